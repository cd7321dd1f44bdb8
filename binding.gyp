{
  # One addon and four helper executables. Sources are globbed, so that a new file needs no edit here.
  "variables": {
    "warnings": ["-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers"],
    "hardening": ["-fstack-protector-strong", "-D_FORTIFY_SOURCE=2", "-fvisibility=hidden"],
    # ASAN=1 npm run build:native builds the executables with AddressSanitizer and UBSan.
    "asan%": "<!(echo ${ASAN:-0})",
  },
  "target_defaults": {
    "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"],
    "cflags_cc": ["-std=c++20", "<@(warnings)", "<@(hardening)"],
    "include_dirs": ["native"],
    "ldflags": ["-Wl,-z,relro,-z,now"],
    "ldflags!": ["-rdynamic"],
  },
  "targets": [
    {
      "target_name": "pvecri",
      # native/common is for shim, init and exec: the others take headers from it alone.
      "sources": ["<!@(ls native/addon/*.cc)"],
      # A worker's end would unload the addon while threads it left behind still run in it.
      "ldflags": ["-Wl,-z,nodelete"],
      "dependencies": ["<!(node -p \"require('node-addon-api').targets\"):node_addon_api_except"],
      # Without the last one, an error thrown in a worker that is being terminated ends the process.
      "defines": [
        "NAPI_VERSION=9",
        "NODE_ADDON_API_DISABLE_DEPRECATED",
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
      ],
      "libraries": ["<!@(pkg-config --libs lxc libseccomp)"],
    },
    {
      "target_name": "pvecri-shim",
      "type": "executable",
      "sources": ["<!@(ls native/shim/*.cc native/common/*.cc)"],
      "libraries": ["<!@(pkg-config --libs lxc)"],
      # It needs nothing of the C++ library, whose relocations would cost every shim memory; it has one
      # thread.
      "cflags_cc": ["-fno-threadsafe-statics"],
      "ldflags": ["-Wl,--as-needed", "-static-libgcc"],
      "conditions": [["asan==1", {
        "cflags_cc": ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"],
        "ldflags": ["-fsanitize=address,undefined"],
      }, {"cflags_cc": ["-fno-exceptions", "-fno-rtti"]}]],
    },
    {
      "target_name": "pvecri-init",
      "type": "executable",
      "sources": ["<!@(ls native/init/*.cc native/common/*.cc)"],
      "cflags_cc": ["-fno-exceptions", "-fno-rtti", "-Os"],
      "ldflags": ["-static", "-s"],
    },
    {
      "target_name": "pvecri-exec",
      "type": "executable",
      "sources": ["<!@(ls native/exec/*.cc native/common/*.cc)"],
      "cflags_cc": ["-fno-exceptions", "-fno-rtti", "-Os"],
      "ldflags": ["-static", "-s"],
    },
    {
      "target_name": "pvecri-pause",
      "type": "executable",
      "sources": ["native/pause/main.cc"],
      "cflags_cc": ["-fno-exceptions", "-fno-rtti", "-Os"],
      "ldflags": ["-static", "-s"],
    },
    {
      "target_name": "pvecri-unpack",
      "type": "executable",
      "sources": ["<!@(ls native/unpack/*.cc)"],
      "libraries": ["-larchive", "-lisal", "-lzstd", "-llzma", "-lcrypto"],
      "conditions": [["asan==1", {
        "cflags_cc": ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"],
        "ldflags": ["-fsanitize=address,undefined"],
      }, {"cflags_cc": ["-fno-exceptions", "-fno-rtti"]}]],
    },
  ],
}
