/* SPDX-License-Identifier: MIT */
/* notify: what systemd wants to hear from a service of Type=notify (sd_notify(3)), as the
 * plain datagram it is.  Without NOTIFY_SOCKET nothing is sent. */
#ifndef CORE_SERVER_NOTIFY_H
#define CORE_SERVER_NOTIFY_H

#include <stdbool.h>

/* Is this a service of that kind? */
bool notify_wanted(void);

/* state: lines such as "READY=1\nSTATUS=serving".  Failures are nobody's business. */
void notify_send(const char *state);

#endif
