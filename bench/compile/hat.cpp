#include <hat/hat.hpp>
