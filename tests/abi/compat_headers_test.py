#!/usr/bin/env python3
"""The headers that golden plugins are built with are those of the release, and only appended to.

  compat_headers_test.py CLANG SDK_DIR VERSION

Until VERSION is released (sdk/abi/released/VERSION.txt), its copy below sdk/compat follows the
header of today; from then on it is frozen, and the header of today may only append to it.
"""

import pathlib
import sys
import unittest

import append_only
import dump_layout

CLANG, SDK, VERSION = sys.argv[1:4]
SDK = pathlib.Path(SDK)
COMPAT = SDK / "compat" / VERSION
RELEASED = SDK / "abi/released" / f"{VERSION}.txt"


class Golden(unittest.TestCase):
    def test_layout_is_that_of_its_header(self):
        self.assertEqual(dump_layout.dump(CLANG, COMPAT / "include/epp/abi.h"),
                         (COMPAT / "layout.x86_64.txt").read_text())

    def test_follows_until_the_release(self):
        snapshot = (COMPAT / "layout.x86_64.txt").read_text()
        if RELEASED.exists():
            self.assertEqual(snapshot, RELEASED.read_text(), "a released header never changes")
        else:
            self.assertEqual((COMPAT / "include/epp/abi.h").read_text(),
                             (SDK / "include/epp/abi.h").read_text(),
                             f"{VERSION} is not released: copy the header and the layout there")

    def test_today_only_appends(self):
        today = (SDK / "abi/layout.x86_64.txt").read_text()
        self.assertEqual(list(append_only.violations(
            (COMPAT / "layout.x86_64.txt").read_text(), today)), [])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
