//! What knows no HTTP: buffers, timers, clocks, text, messages between threads.

pub mod address;
pub mod clock;
pub mod mailbox;
pub mod pool;
pub mod proxy_header;
pub mod ranks;
pub mod ring;
pub mod slots;
pub mod steps;
pub mod sync;
pub mod text;
pub mod uri;
pub mod wheel;
