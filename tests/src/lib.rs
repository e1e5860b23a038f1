//! Harness of the black-box tests: starts the real binary and speaks to it over real sockets.
