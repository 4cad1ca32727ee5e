/* SPDX-License-Identifier: Apache-2.0
 *
 * The functions of libmicrohttpd, loaded when they are first wanted; and of the GnuTLS that it stands on the
 * one that judges a client's certificate. */
#ifndef WB_NET_MHD_H
#define WB_NET_MHD_H

#include <microhttpd.h>
#include <stdbool.h>

#include "base/err.h"

#define MHD_FUNCTIONS(X)                                                                                       \
	X(MHD_start_daemon)                                                                                    \
	X(MHD_stop_daemon)                                                                                     \
	X(MHD_get_daemon_info)                                                                                 \
	X(MHD_is_feature_supported)                                                                            \
	X(MHD_run)                                                                                             \
	X(MHD_get_timeout)                                                                                     \
	X(MHD_get_connection_info)                                                                             \
	X(MHD_lookup_connection_value)                                                                         \
	X(MHD_lookup_connection_value_n)                                                                       \
	X(MHD_create_response_from_buffer)                                                                     \
	X(MHD_create_response_from_callback)                                                                   \
	X(MHD_add_response_header)                                                                             \
	X(MHD_queue_response)                                                                                  \
	X(MHD_destroy_response)                                                                                \
	X(MHD_suspend_connection)                                                                              \
	X(MHD_resume_connection)

struct mhd {
	bool loaded;
#define X(name) __typeof__(name) *name;
	MHD_FUNCTIONS(X)
#undef X
	int (*verify_peers)(void *session, unsigned *ret_status); /* NULL: without TLS */
};
extern struct mhd mhd;

/* ERR_FAIL: not installed, and what to install. */
int mhd_load(struct err *e);

#endif
