/* Linked with a library search path. */
#include "base.h"
