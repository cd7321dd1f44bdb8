/** The version that Version, `pvecri --version` and the log name: that of package.json. */
import metadata from '../package.json' with { type: 'json' };

export const VERSION: string = metadata.version;
