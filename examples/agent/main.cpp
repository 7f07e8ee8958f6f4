// The measuring agent for another device: `hat measure --command "ssh pi ./hat-agent"` talks to it.
#include <hat/deploy/agent.hpp>
#include <iostream>

int main() {
    std::ios::sync_with_stdio(false);
    hat::run_agent(std::cin, std::cout);
}
