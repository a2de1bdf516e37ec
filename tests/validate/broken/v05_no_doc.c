/* Says nothing about its type. */
#define BROKEN_DOC ""
#include "base.h"
