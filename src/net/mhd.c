/* SPDX-License-Identifier: Apache-2.0
 *
 * libmicrohttpd, loaded at first use: see mhd.h.
 *
 * Failure modes: not installed; another version, that lacks something. */
#include "net/mhd.h"

#include <dlfcn.h>
#include <stdint.h>

#include "base/library.h"

#define LIBRARY "libmicrohttpd.so.12"

struct mhd mhd;

int mhd_load(struct err *e)
{
	static const struct library_function functions[] = {
#define X(name) { #name, offsetof(struct mhd, name) },
		MHD_FUNCTIONS(X)
#undef X
	};
	static const struct library library = { .file = LIBRARY,
						.title = LIBRARY,
						.user = "the HTTP server",
						.package = "libmicrohttpd12 or libmicrohttpd12t64" };
	if (mhd.loaded)
		return 0;
	if (library_load(&library, functions, sizeof functions / sizeof *functions, &mhd, e) < 0)
		return -1;
	/* Found in what the library itself is linked with. */
	void *again = dlopen(LIBRARY, RTLD_NOW | RTLD_NOLOAD);
	mhd.verify_peers =
		(__typeof__(mhd.verify_peers))(uintptr_t)dlsym(again, "gnutls_certificate_verify_peers2");
	mhd.loaded = true;
	return 0;
}
