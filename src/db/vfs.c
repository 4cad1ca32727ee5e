/* SPDX-License-Identifier: Apache-2.0
 *
 * The VFS: see vfs.h. Each method hands on to the real file; xShmLock also keeps the mask of locks held. In the
 * test build SQLite's own file-changing calls are led through the table of base/sys.h, so that faults and
 * deaths can be placed in them as well (SQLite's sync is not in its table of calls; it is met in xSync).
 *
 * Failure modes: none of its own; what the real VFS answers is answered. */
#include "db/vfs.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/sys.h"

struct vfs_file {
	sqlite3_file base;
	unsigned shared;       /* bit n: lock n of the shared index is held shared */
	bool keeps_checkpoint; /* taken by us, not yet met by SQLite */
	bool keeps_write;      /* taken by us, never given to SQLite */
	sqlite3_file *real;
};

static sqlite3_vfs *real_vfs;

static sqlite3_file *real_of(sqlite3_file *f)
{
	return ((struct vfs_file *)(void *)f)->real;
}

static int x_close(sqlite3_file *f)
{
	sqlite3_file *r = real_of(f);
	return r->pMethods ? r->pMethods->xClose(r) : SQLITE_OK;
}

static int x_read(sqlite3_file *f, void *p, int n, sqlite3_int64 off)
{
	sqlite3_file *r = real_of(f);
	return r->pMethods->xRead(r, p, n, off);
}

static int x_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 off)
{
	sqlite3_file *r = real_of(f);
	return r->pMethods->xWrite(r, p, n, off);
}

static int x_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	sqlite3_file *r = real_of(f);
	return r->pMethods->xTruncate(r, size);
}

static int x_sync(sqlite3_file *f, int flags)
{
	sqlite3_file *r = real_of(f);
#ifdef WALBROOK_FAULTS
	if (sys_fault_sqlite_sync() < 0)
		return SQLITE_IOERR_FSYNC;
#endif
	return r->pMethods->xSync(r, flags);
}

static int x_file_size(sqlite3_file *f, sqlite3_int64 *size)
{
	sqlite3_file *r = real_of(f);
	return r->pMethods->xFileSize(r, size);
}

static int x_lock(sqlite3_file *f, int level)
{
	sqlite3_file *r = real_of(f);
	return r->pMethods->xLock(r, level);
}

static int x_unlock(sqlite3_file *f, int level)
{
	sqlite3_file *r = real_of(f);
	return r->pMethods->xUnlock(r, level);
}

static int x_check_reserved(sqlite3_file *f, int *out)
{
	sqlite3_file *r = real_of(f);
	return r->pMethods->xCheckReservedLock(r, out);
}

static int x_file_control(sqlite3_file *f, int op, void *arg)
{
	sqlite3_file *r = real_of(f);
	return r->pMethods->xFileControl(r, op, arg);
}

static int x_sector_size(sqlite3_file *f)
{
	sqlite3_file *r = real_of(f);
	return r->pMethods->xSectorSize(r);
}

static int x_device(sqlite3_file *f)
{
	sqlite3_file *r = real_of(f);
	return r->pMethods->xDeviceCharacteristics(r);
}

static int x_shm_map(sqlite3_file *f, int region, int size, int extend, void volatile **pp)
{
	sqlite3_file *r = real_of(f);
	return r->pMethods->xShmMap(r, region, size, extend, pp);
}

static int x_shm_lock(sqlite3_file *f, int ofs, int n, int flags)
{
	struct vfs_file *v = (struct vfs_file *)(void *)f;
	if (v->keeps_checkpoint && ofs == SHM_CKPT && flags == (SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE)) {
		v->keeps_checkpoint = false; /* from here on it is SQLite's, and SQLite's unlock ends it */
		return SQLITE_OK;
	}
	if (v->keeps_write && ofs == SHM_WRITE && n == 1)
		return SQLITE_OK;
	int rc = v->real->pMethods->xShmLock(v->real, ofs, n, flags);
	if (rc != SQLITE_OK || !(flags & SQLITE_SHM_SHARED))
		return rc;
	unsigned mask = ((1u << n) - 1) << ofs;
	if (flags & SQLITE_SHM_LOCK)
		v->shared |= mask;
	else
		v->shared &= ~mask;
	return rc;
}

static void x_shm_barrier(sqlite3_file *f)
{
	sqlite3_file *r = real_of(f);
	r->pMethods->xShmBarrier(r);
}

static int x_shm_unmap(sqlite3_file *f, int del)
{
	struct vfs_file *v = (struct vfs_file *)(void *)f;
	v->shared = 0;
	return v->real->pMethods->xShmUnmap(v->real, del);
}

static int x_fetch(sqlite3_file *f, sqlite3_int64 off, int n, void **pp)
{
	sqlite3_file *r = real_of(f);
	if (r->pMethods->iVersion >= 3)
		return r->pMethods->xFetch(r, off, n, pp);
	*pp = NULL;
	return SQLITE_OK;
}

static int x_unfetch(sqlite3_file *f, sqlite3_int64 off, void *p)
{
	sqlite3_file *r = real_of(f);
	return r->pMethods->iVersion >= 3 ? r->pMethods->xUnfetch(r, off, p) : SQLITE_OK;
}

static const sqlite3_io_methods methods = {
	.iVersion = 3,
	.xClose = x_close,
	.xRead = x_read,
	.xWrite = x_write,
	.xTruncate = x_truncate,
	.xSync = x_sync,
	.xFileSize = x_file_size,
	.xLock = x_lock,
	.xUnlock = x_unlock,
	.xCheckReservedLock = x_check_reserved,
	.xFileControl = x_file_control,
	.xSectorSize = x_sector_size,
	.xDeviceCharacteristics = x_device,
	.xShmMap = x_shm_map,
	.xShmLock = x_shm_lock,
	.xShmBarrier = x_shm_barrier,
	.xShmUnmap = x_shm_unmap,
	.xFetch = x_fetch,
	.xUnfetch = x_unfetch,
};

/* SQLite gives us szOsFile bytes; the real file lies behind ours. */
static const size_t real_at = (sizeof(struct vfs_file) + 15) & ~(size_t)15;

static int x_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *f, int flags, int *out_flags)
{
	(void)vfs;
	struct vfs_file *v = (struct vfs_file *)(void *)f;
	memset(v, 0, sizeof *v);
	v->real = (sqlite3_file *)(void *)((uint8_t *)f + real_at);
	int rc = real_vfs->xOpen(real_vfs, name, v->real, flags, out_flags);
	/* SQLite calls xClose after a failed xOpen only when pMethods is set. */
	f->pMethods = v->real->pMethods ? &methods : NULL;
	return rc;
}

static int x_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
	(void)vfs;
	return real_vfs->xDelete(real_vfs, name, sync_dir);
}

static int x_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
	(void)vfs;
	return real_vfs->xAccess(real_vfs, name, flags, out);
}

static int x_full_path(sqlite3_vfs *vfs, const char *name, int n, char *out)
{
	(void)vfs;
	return real_vfs->xFullPathname(real_vfs, name, n, out);
}

static int x_randomness(sqlite3_vfs *vfs, int n, char *out)
{
	(void)vfs;
	return real_vfs->xRandomness(real_vfs, n, out);
}

static int x_sleep(sqlite3_vfs *vfs, int us)
{
	(void)vfs;
	return real_vfs->xSleep(real_vfs, us);
}

static int x_time(sqlite3_vfs *vfs, sqlite3_int64 *out)
{
	(void)vfs;
	return real_vfs->xCurrentTimeInt64(real_vfs, out);
}

static int x_last_error(sqlite3_vfs *vfs, int n, char *out)
{
	(void)vfs;
	return real_vfs->xGetLastError(real_vfs, n, out);
}

static sqlite3_vfs our_vfs = {
	.iVersion = 2,
	.zName = VFS_NAME,
	.xOpen = x_open,
	.xDelete = x_delete,
	.xAccess = x_access,
	.xFullPathname = x_full_path,
	.xRandomness = x_randomness,
	.xSleep = x_sleep,
	.xGetLastError = x_last_error,
	.xCurrentTimeInt64 = x_time,
};

#ifdef WALBROOK_FAULTS
static int fault_open(const char *path, int flags, int mode)
{
	return sys_open(path, flags, (mode_t)mode);
}

static void lead_calls_through_the_table(void)
{
	static const struct {
		const char *name;
		sqlite3_syscall_ptr call;
	} calls[] = {
		{ "open", (sqlite3_syscall_ptr)fault_open },
		{ "ftruncate", (sqlite3_syscall_ptr)sys_ftruncate },
		{ "write", (sqlite3_syscall_ptr)sys_write },
		{ "pwrite", (sqlite3_syscall_ptr)sys_pwrite },
		{ "pwrite64", (sqlite3_syscall_ptr)sys_pwrite },
		{ "fallocate", NULL },
		{ "fchmod", (sqlite3_syscall_ptr)sys_fchmod },
		{ "fchown", (sqlite3_syscall_ptr)sys_fchown },
		{ "unlink", (sqlite3_syscall_ptr)sys_unlink },
	};
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
		if (calls[i].call)
			real_vfs->xSetSystemCall(real_vfs, calls[i].name, calls[i].call);
}
#endif

int vfs_setup(struct err *e)
{
	static bool done;
	if (done)
		return 0;
	if (sqlite3_libversion_number() < 3040000)
		return err_set(e, ERR_FAIL, "the linked SQLite is %s; walbrook needs 3.40.0 or newer",
			       sqlite3_libversion());
	/* Thousands of connections that hold one read transaction each: nothing is preallocated for them. */
	sqlite3_config(SQLITE_CONFIG_MULTITHREAD);
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0);
	sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0, 0);
	if (sqlite3_initialize() != SQLITE_OK)
		return err_set(e, ERR_FAIL, "SQLite cannot be initialised");
	real_vfs = sqlite3_vfs_find("unix");
	if (!real_vfs)
		return err_set(e, ERR_FAIL, "SQLite has no VFS named unix");
	our_vfs.szOsFile = (int)real_at + real_vfs->szOsFile;
	our_vfs.mxPathname = real_vfs->mxPathname;
#ifdef WALBROOK_FAULTS
	lead_calls_through_the_table();
#endif
	if (sqlite3_vfs_register(&our_vfs, 0) != SQLITE_OK)
		return err_set(e, ERR_FAIL, "SQLite refuses our VFS");
	done = true;
	return 0;
}

bool vfs_block_slot(sqlite3_file *file, int slot)
{
	sqlite3_file *real = real_of(file);
	return real->pMethods->xShmLock(real, SHM_READ0 + slot, 1, SQLITE_SHM_LOCK | SQLITE_SHM_SHARED) ==
	       SQLITE_OK;
}

void vfs_unblock_slot(sqlite3_file *file, int slot)
{
	sqlite3_file *real = real_of(file);
	real->pMethods->xShmLock(real, SHM_READ0 + slot, 1, SQLITE_SHM_UNLOCK | SQLITE_SHM_SHARED);
}

static int slot_flags(int slot)
{
	return slot == 0 ? SQLITE_SHM_SHARED : SQLITE_SHM_EXCLUSIVE;
}

bool vfs_take_slot(sqlite3_file *file, int slot)
{
	sqlite3_file *real = real_of(file);
	return real->pMethods->xShmLock(real, SHM_READ0 + slot, 1, SQLITE_SHM_LOCK | slot_flags(slot)) ==
	       SQLITE_OK;
}

void vfs_drop_slot(sqlite3_file *file, int slot)
{
	sqlite3_file *real = real_of(file);
	real->pMethods->xShmLock(real, SHM_READ0 + slot, 1, SQLITE_SHM_UNLOCK | slot_flags(slot));
}

bool vfs_take_checkpoint(sqlite3_file *file)
{
	struct vfs_file *v = (struct vfs_file *)(void *)file;
	int flags = SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE;
	if (!v->keeps_checkpoint)
		v->keeps_checkpoint = v->real->pMethods->xShmLock(v->real, SHM_CKPT, 1, flags) == SQLITE_OK;
	return v->keeps_checkpoint;
}

void vfs_drop_checkpoint(sqlite3_file *file)
{
	struct vfs_file *v = (struct vfs_file *)(void *)file;
	if (v->keeps_checkpoint)
		v->real->pMethods->xShmLock(v->real, SHM_CKPT, 1, SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE);
	v->keeps_checkpoint = false;
}

bool vfs_take_write(sqlite3_file *file)
{
	sqlite3_file *real = real_of(file);
	return real->pMethods->xShmLock(real, SHM_WRITE, 1, SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE) ==
	       SQLITE_OK;
}

void vfs_drop_write(sqlite3_file *file)
{
	sqlite3_file *real = real_of(file);
	real->pMethods->xShmLock(real, SHM_WRITE, 1, SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE);
}

bool vfs_keep_write(sqlite3_file *file)
{
	struct vfs_file *v = (struct vfs_file *)(void *)file;
	int flags = SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE;
	if (!v->keeps_write)
		v->keeps_write = v->real->pMethods->xShmLock(v->real, SHM_WRITE, 1, flags) == SQLITE_OK;
	return v->keeps_write;
}

void vfs_let_write(sqlite3_file *file)
{
	struct vfs_file *v = (struct vfs_file *)(void *)file;
	if (v->keeps_write)
		v->real->pMethods->xShmLock(v->real, SHM_WRITE, 1, SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE);
	v->keeps_write = false;
}

int vfs_read_slot(sqlite3_file *file)
{
	unsigned held = ((struct vfs_file *)(void *)file)->shared >> SHM_READ0;
	return held ? __builtin_ctz(held) : -1;
}
