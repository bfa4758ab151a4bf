//! What every page uses: its title, icons, the theme, numbers, its first state, and how the browser takes it over.

pub mod about;
pub mod bidi;
pub mod first_state;
pub mod hydration;
pub mod icons;
pub mod input_method;
pub mod lazy_page;
pub mod numbers;
pub mod one_press;
pub mod theme;
