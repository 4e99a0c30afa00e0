// Every function of the project is imported here: that is what makes it part of a deploy.
import './github/syncs/issues.js';
