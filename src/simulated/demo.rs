//! Owns the world that `gemini-pool demo` shows: a dozen keys of mixed health over several projects, with
//! quotas so small that something happens every minute. Invariant: every key it returns is known to the world
//! or is the one that Google never heard of.

use std::time::Duration;

use super::fault::{Failure, Fault};
use super::key::{Key, KeyState};
use super::project::{DayDelay, Limits, ProjectState};
use super::world::World;

impl World {
    /// The world of the demo, and its keys in the order in which a newcomer would enter them.
    pub fn demo() -> (Self, Vec<String>) {
        let flash = "gemini-2.5-flash";
        let small = Limits::none().per_minute(12).per_day(500).tokens(4_000);
        let mut world = Self::new()
            .project("north", |project| project.default_limits = small)
            .project("south", |project| {
                project.default_limits = small;
                project.limit("gemini-2.5-pro", Limits::zero());
            })
            .project("east", |project| {
                project.default_limits = Limits::none().per_minute(6);
                project.day_delay = DayDelay::Truthful;
                project.limit(flash, Limits::none().per_day(25));
            })
            .project("west", |project| {
                project.default_limits = small;
                project.out_for_today(flash, 250);
            })
            .project("attic", |project| project.state = ProjectState::ServiceDisabled)
            .project("harbour", |project| project.default_limits = Limits::none().per_minute(20));
        let keys = [
            ("north", "one", KeyState::Good),
            ("north", "two", KeyState::Good),
            ("south", "three", KeyState::Good),
            ("south", "four", KeyState::Flapping401 { every: 7 }),
            ("east", "five", KeyState::Good),
            ("west", "six", KeyState::Good),
            ("attic", "seven", KeyState::Good),
            ("harbour", "eight-stormy", KeyState::Good),
            ("harbour", "nine-breaking", KeyState::Good),
            ("north", "ten-bad", KeyState::Bad),
            ("east", "eleven-leaked", KeyState::Leaked),
            ("west", "twelve-suspended", KeyState::Suspended),
        ];
        let mut names = Vec::with_capacity(keys.len());
        for (project, name, state) in keys {
            let faults = match name {
                "eight-stormy" => vec![
                    Fault::sometimes(0.4, Failure::HighDemand),
                    Fault::sometimes(0.2, Failure::SlowFirstByte(Duration::from_secs(2))),
                ],
                "nine-breaking" => vec![Fault::sometimes(0.1, Failure::CutAfter(2))],
                _ => Vec::new(),
            };
            // As long as a real one, and plainly none.
            let secret = format!("AIzaDemo-{name:->30}");
            world.keys.insert(secret.clone(), Key { state, faults, ..Key::new(project) });
            names.push(secret);
        }
        for model in world.models.values_mut() {
            model.first_byte = Duration::from_millis(120);
            model.gap = Duration::from_millis(40);
        }
        (world, names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_has_a_dozen_keys_of_mixed_health() {
        let (world, keys) = World::demo();
        assert_eq!(keys.len(), 12);
        let good = keys.iter().filter(|key| world.keys[*key].state == KeyState::Good).count();
        assert_eq!(good, 8);
        assert!(keys.iter().all(|key| world.projects.contains_key(&world.keys[key].project)));
    }
}
