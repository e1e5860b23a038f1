//! Sans-I/O codecs and protocol detection.
