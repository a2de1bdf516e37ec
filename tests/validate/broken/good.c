/* Breaks nothing. */
#include "base.h"
