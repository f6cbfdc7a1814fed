/* Before anything is drawn: the colours chosen last time. */
'use strict';
const Theme = {
  order: ['auto', 'light', 'dark'],
  get() {
    try { return localStorage.getItem('rqlite-theme') || 'auto'; } catch { return this.now || 'auto'; }
  },
  set(name) {
    this.now = name;
    try { localStorage.setItem('rqlite-theme', name); } catch { /* private window */ }
    this.apply();
  },
  apply() {
    const name = this.get();
    if (name === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
  },
};
Theme.apply();
