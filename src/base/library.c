/* SPDX-License-Identifier: Apache-2.0
 *
 * Libraries loaded at first use: see library.h.
 *
 * Happy path: the file is opened where the system's loader finds it, and each function is looked up by name.
 *
 * Failure modes: it is not installed, or older than what we need; the error says which, and the package. */
#include "base/library.h"

#include <dlfcn.h>
#include <string.h>

int library_load(const struct library *l, const struct library_function *functions, size_t n, void *table,
		 struct err *e)
{
	void *so = dlopen(l->file, RTLD_NOW | RTLD_LOCAL);
	if (!so)
		return err_set(e, ERR_FAIL,
			       "%s needs the library %s, which cannot be loaded: %s. "
			       "Install it (Debian and Ubuntu: package %s)",
			       l->user, l->title, dlerror(), l->package);
	for (size_t i = 0; i < n; i++) {
		void *f = dlsym(so, functions[i].name);
		if (!f) {
			err_set(e, ERR_FAIL, "%s needs a newer %s: this one has no %s", l->user, l->file,
				functions[i].name);
			dlclose(so);
			return -1;
		}
		memcpy((char *)table + functions[i].at, &f, sizeof f);
	}
	return 0;
}
