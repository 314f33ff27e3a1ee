"""Ways to tell people that something waits for them: links, never the decision itself. Made by `build.channel_of`."""
