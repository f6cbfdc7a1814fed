/* SPDX-License-Identifier: MIT */
/*
 * list: an intrusive doubly linked ring.  The head is a node of its own; an item is in at
 * most one list per link it embeds.  Nothing is allocated, nothing locks.
 */
#ifndef CORE_BASE_LIST_H
#define CORE_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *prev, *next;
};

#define LIST_ITEM(ptr, type, member)                                                     \
    ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
    l->prev = l->next = l;
}
static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}
static inline bool list_linked(const struct list *l)
{
    return l->next != l && l->next != NULL;
}

static inline void list_insert(struct list *prev, struct list *item, struct list *next)
{
    item->prev = prev;
    item->next = next;
    prev->next = item;
    next->prev = item;
}
static inline void list_push_back(struct list *head, struct list *item)
{
    list_insert(head->prev, item, head);
}
static inline void list_push_front(struct list *head, struct list *item)
{
    list_insert(head, item, head->next);
}
static inline void list_remove(struct list *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    list_init(item);
}
static inline struct list *list_pop_front(struct list *head)
{
    struct list *item = head->next;
    if (item == head) return NULL;
    list_remove(item);
    return item;
}

#endif
