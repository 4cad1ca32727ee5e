/* SPDX-License-Identifier: Apache-2.0
 *
 * What people and applications ask for over HTTP (docs/live.md): the page, the status, positions. The handlers
 * of http.c. */
#ifndef WB_DAEMON_ANSWERS_H
#define WB_DAEMON_ANSWERS_H

#include "daemon/http.h"

http_handler answers_page;     /* GET / */
http_handler answers_status;   /* GET /status[?path=P] */
http_handler answers_position; /* GET /position?path=P */
http_handler answers_wait;     /* GET /wait?path=P&position=POSITION[&timeout=DURATION] */

#endif
