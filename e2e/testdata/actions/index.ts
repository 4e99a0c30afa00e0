import './github/actions/close-issue.js';
import './github/actions/close-all.js';
import './github/actions/refuse.js';
import './github/actions/read-missing.js';
import './github/actions/count.js';
import './github/on-events/check.js';
import './github/on-events/greet.js';
import './github/on-events/goodbye.js';
