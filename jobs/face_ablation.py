from raypipe.jobs.face_ablation import JOB

if __name__ == "__main__":
    JOB.main()
