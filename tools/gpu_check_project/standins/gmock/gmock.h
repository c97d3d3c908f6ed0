// Stand-in for GoogleMock: EXPECT_THAT with HasSubstr.
#pragma once

#include "gtest/gtest.h"
