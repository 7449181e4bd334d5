/* A plugin that frees what the program's libraries allocated, and the other way round. */
#include <stdlib.h>
#include <string.h>

char *plugin_make(void);
void plugin_free(char *text);

char *plugin_make(void)
{
	return strdup("made by the plugin");
}

void plugin_free(char *text)
{
	free(text);
}
