//! What a hostile account can send, straight from a server that relays everything: nothing ends the
//! stream, and nothing fills us.
