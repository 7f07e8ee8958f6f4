#include <hat/search/searcher.hpp>
