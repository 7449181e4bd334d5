/*
 * A pthread_create that stands between Gasket's and libc's: while it is held it only takes note of the thread (inverted) and says that it exists. So a test
 * can look at a thread that has not taken its first step.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

void late_start_hold(void);
void late_start_release(void);

static struct {
	int held;
	int waiting;
	uintptr_t routine;
	uintptr_t argument;
} late;

static int create(pthread_t *thread, const pthread_attr_t *attributes, void *(*routine)(void *),
	void *argument)
{
	int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
		(int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(
			RTLD_NEXT, "pthread_create");

	return next(thread, attributes, routine, argument);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*routine)(void *),
	void *argument)
{
	if (!late.held || late.waiting)
		return create(thread, attributes, routine, argument);
	late.waiting = 1;
	late.routine = ~(uintptr_t)routine;
	late.argument = ~(uintptr_t)argument;
	*thread = pthread_self();
	return 0;
}

void late_start_hold(void)
{
	late.held = 1;
}

void late_start_release(void)
{
	pthread_t thread;

	late.held = 0;
	if (late.waiting && create(&thread, NULL, (void *(*)(void *)) ~late.routine,
				    (void *)~late.argument) == 0)
		pthread_join(thread, NULL);
	late.waiting = 0;
}
