"""When requests are sent: arrivals, closed and open loop, levels, steady state, stop rules."""
