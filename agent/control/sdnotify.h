/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_SDNOTIFY_H
#define CONTROL_SDNOTIFY_H

/*
 * Tells the service manager what the daemon is doing (sd_notify(3)): one
 * datagram to $NOTIFY_SOCKET, nothing at all when that is not set.
 * 1 sent, 0 nobody to tell, negative errno.
 */
int sdnotify_ready(void);
/* With the monotonic time that Type=notify-reload asks for. */
int sdnotify_reloading(void);
int sdnotify_stopping(void);
/* One line for `systemctl status`. */
int sdnotify_status(const char *text);

#endif
