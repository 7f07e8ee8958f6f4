// What a user of the third-party libraries pays anyway.
#include <doctest/doctest.h>

#include <boost/hana.hpp>
#include <xsimd/xsimd.hpp>
#if __has_include(<xtensor/containers/xtensor.hpp>)
#include <xtensor/containers/xtensor.hpp>
#else
#include <xtensor/xtensor.hpp>
#endif
