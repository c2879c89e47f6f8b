//! Receivers, down tracks and what lies between them, sans-IO.
