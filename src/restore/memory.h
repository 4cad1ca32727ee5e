/* SPDX-License-Identifier: Apache-2.0
 *
 * Large buffers of the restore, straight from the system: only what is touched is resident, and what is given
 * back is gone at once. (malloc keeps freed blocks of this size for later, which would count against the memory
 * bound.) */
#ifndef WB_RESTORE_MEMORY_H
#define WB_RESTORE_MEMORY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

static inline uint8_t *memory_map(size_t n) /* NULL: none left */
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

static inline void memory_unmap(uint8_t *p, size_t n)
{
	if (p)
		munmap(p, n);
}

#endif
