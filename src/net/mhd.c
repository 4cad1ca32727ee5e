/* SPDX-License-Identifier: Apache-2.0
 *
 * libmicrohttpd, loaded at first use: see mhd.h.
 *
 * Failure modes: not installed; another version, that lacks something. */
#include "net/mhd.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>

#define LIBRARY "libmicrohttpd.so.12"

struct mhd mhd;

int mhd_load(struct err *e)
{
	if (mhd.handle)
		return 0;
	void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!handle) {
		err_set(e, ERR_FAIL, "the HTTP server needs %s, which cannot be loaded: %s", LIBRARY,
			dlerror());
		return err_hint(e, "On Debian and Ubuntu: apt install libmicrohttpd12");
	}
	bool all = true;
#define X(name) all = (mhd.name = (__typeof__(mhd.name))(uintptr_t)dlsym(handle, #name)) != NULL && all;
	MHD_FUNCTIONS(X)
#undef X
	if (!all) {
		dlclose(handle);
		return err_set(e, ERR_FAIL, "%s is not the library that the HTTP server needs", LIBRARY);
	}
	/* Found in what the library itself is linked with. */
	mhd.verify_peers =
		(__typeof__(mhd.verify_peers))(uintptr_t)dlsym(handle, "gnutls_certificate_verify_peers2");
	mhd.handle = handle;
	return 0;
}
