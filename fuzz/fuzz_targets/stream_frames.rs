#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gemini_pool::fuzzing::stream_frames(data));
