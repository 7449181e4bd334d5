/* Lists. */
#include "tests/harness/test.h"

#include "core/base/list.h"

TEST(lists_keep_their_order)
{
	struct list_link head, items[5];
	int count = 0;

	list_init(&head);
	CHECK(list_is_empty(&head));
	for (int i = 0; i < 5; i++)
		list_push_back(&head, &items[i]);
	list_for_each(link, &head) CHECK_EQ((void *)link, (void *)&items[count++]);
	CHECK_EQ(count, 5);
	list_remove(&items[2]);
	list_remove(&items[2]); // removed twice: alone in its own list
	list_push_front(&head, &items[2]);
	CHECK_EQ((void *)head.next, (void *)&items[2]);
	while (!list_is_empty(&head))
		list_remove(head.previous);
}
