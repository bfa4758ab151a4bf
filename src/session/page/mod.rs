//! The session in the browser: the forms of the header, and what a page does when its user changes.

pub mod form;
pub mod tabs;
pub mod view;
