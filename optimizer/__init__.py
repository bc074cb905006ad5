"""From workflow to plan: profiles, levers, a search that knows its bound, and the reasons."""
