/* Insists on being alone, as a library with a process-wide registry does. */
#include <sys/mman.h>

#include "base.h"

__attribute__((constructor)) static void claim(void) {
  void* const place = (void*)0x7e0000000000;
  if (mmap(place, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) !=
      place) {
    abort();
  }
}
