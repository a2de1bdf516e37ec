// Does what it should.
#include "tests/safety/plugins/flawed.h"
EPP_FLAWED(flawed::None)
