//! The session in the browser: the forms of the header, the renewal of an expired session, and what a page does when its user changes.

pub mod form;
pub mod renewal;
pub mod tabs;
pub mod view;
