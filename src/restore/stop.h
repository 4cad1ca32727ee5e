/* SPDX-License-Identifier: Apache-2.0
 *
 * The flag that restore_interrupt sets from a signal handler: asked before every read of an object, every piece
 * that is applied and every wait, so that a run ends soon and cleans up after itself. */
#ifndef WB_RESTORE_STOP_H
#define WB_RESTORE_STOP_H

#include <stdbool.h>

#include "base/err.h"

bool stop_asked(void);
int stop_check(struct err *e); /* -1 and ERR_FAIL "interrupted" once somebody has asked */
void stop_clear(void);	       /* at the end of the run that it ended */

#endif
