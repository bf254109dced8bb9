//! placeholder
pub mod admin;
pub mod answer;
pub mod balance;
pub mod base;
pub mod cli;
pub mod config;
pub mod guard;
pub mod http;
pub mod net;
pub mod observe;
pub mod route;
pub mod server;
pub mod session;
pub mod site;
pub mod upstream;
pub mod worker;
