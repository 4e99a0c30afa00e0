import './github/syncs/puppet.js';
