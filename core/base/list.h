/*
 * Intrusive doubly linked list with a head of its own. An unlinked link points to itself, so removing twice is harmless.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list_link {
	struct list_link *next;
	struct list_link *previous;
};

#define list_entry(link, type, member) ((type *)((char *)(link)-offsetof(type, member)))

static inline void list_init(struct list_link *link)
{
	link->next = link;
	link->previous = link;
}

static inline bool list_is_empty(const struct list_link *head)
{
	return head->next == head;
}

static inline void list_insert_after(struct list_link *where, struct list_link *link)
{
	link->next = where->next;
	link->previous = where;
	where->next->previous = link;
	where->next = link;
}

static inline void list_push_front(struct list_link *head, struct list_link *link)
{
	list_insert_after(head, link);
}

static inline void list_push_back(struct list_link *head, struct list_link *link)
{
	list_insert_after(head->previous, link);
}

static inline void list_remove(struct list_link *link)
{
	link->previous->next = link->next;
	link->next->previous = link->previous;
	list_init(link);
}

#define list_for_each(link, head) \
	for (struct list_link *link = (head)->next; link != (head); link = link->next)
