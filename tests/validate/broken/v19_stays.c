/* Promises that it can be unloaded; linked so that it cannot. */
#include "epp/abi.h"

#define BROKEN_FLAGS EPP_MODULE_UNLOADABLE
#include "base.h"
