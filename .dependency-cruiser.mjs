// The shelves of ARCHITECTURE.md, held by machine. Imports go down only; rooms on one shelf never
// import each other. A room is a folder of packages/teleport/src, or a whole package.
const shelves = [
  ['packages/contracts', 'packages/kernel'],
  ['packages/teleport/src/config', 'packages/teleport/src/ca', 'packages/teleport/src/ssh-transport'],
  ['packages/teleport/src/postgres'],
  ['packages/teleport/src/audit', 'packages/teleport/src/recording', 'packages/teleport/src/membership'],
  ['packages/teleport/src/auth', 'packages/teleport/src/ssh', 'packages/teleport/src/proxy'],
  ['packages/teleport/src/cli'],
];

/** One rule a room: it may not import its own shelf's other rooms, nor any room of a higher shelf. */
const shelfRules = shelves.slice(0, -1).flatMap((rooms, height) =>
  rooms.map((room) => ({
    name: `shelf-of-${room.split('/').at(-1)}`,
    severity: 'error',
    comment: `${room} stands on shelf ${height}: it may import lower shelves only`,
    from: { path: `^${room}/` },
    to: {
      path: [...rooms.filter((other) => other !== room), ...shelves.slice(height + 1).flat()].map(
        (r) => `^${r}/`,
      ),
    },
  })),
);

export default {
  forbidden: [
    ...shelfRules,
    {
      name: 'kernel-only-from-ssh-and-teleport-cli',
      severity: 'error',
      comment: 'only the node service and the daemon touch the kernel package',
      from: {
        path: '^packages/teleport/src/',
        pathNot: '^packages/teleport/src/(ssh/|cli/teleport/|.*\\.test\\.ts$)',
      },
      to: { path: '^packages/kernel/' },
    },
    {
      name: 'tsh-and-tctl-never-reach-the-kernel',
      severity: 'error',
      comment: 'clients are never root and never touch the kernel, not even through another room',
      from: { path: '^packages/teleport/src/cli/(tsh|tctl)/' },
      to: { path: '^packages/kernel/', reachable: true },
    },
    {
      name: 'ssh2-only-from-ssh-transport',
      severity: 'error',
      comment: 'ssh-transport is the only room that knows ssh2',
      from: { path: '^packages/teleport/src/', pathNot: '^packages/teleport/src/ssh-transport/' },
      to: { path: 'node_modules/ssh2/' },
    },
    {
      name: 'yaml-only-from-config',
      severity: 'error',
      comment: 'config is the only reader of YAML',
      from: { path: '^packages/teleport/src/', pathNot: '^packages/teleport/src/config/' },
      to: { path: 'node_modules/yaml/' },
    },
    {
      name: 'contracts-see-no-node',
      severity: 'error',
      from: { path: '^packages/contracts/src/', pathNot: '\\.(test|contract)\\.ts$' },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'no-circular',
      severity: 'error',
      comment: 'at run time: a ring in which some import is of types only is none',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
  ],
  options: {
    parser: 'swc',
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default'] },
  },
};
