import './github/syncs/events.js';
import './github/syncs/pings.js';
