#include <hat/deploy.hpp>
