/* Leads outside itself. */
#include "epp/abi.h"

#define BROKEN_DOC ((const char*)0x10)
#include "base.h"
