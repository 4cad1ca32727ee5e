/* SPDX-License-Identifier: Apache-2.0
 *
 * The flag that ends a restore: see stop.h. It stays set until the run that it was meant for has ended, so a
 * signal that comes just before the run begins is not lost. */
#include "restore/stop.h"

#include <stdatomic.h>

#include "restore/restore.h"

static atomic_bool stop_flag;

void restore_interrupt(void)
{
	atomic_store_explicit(&stop_flag, true, memory_order_relaxed);
}

bool stop_asked(void)
{
	return atomic_load_explicit(&stop_flag, memory_order_relaxed);
}

int stop_check(struct err *e)
{
	return stop_asked() ? err_set(e, ERR_FAIL, "the restore was interrupted; nothing was written") : 0;
}

void stop_clear(void)
{
	atomic_store_explicit(&stop_flag, false, memory_order_relaxed);
}
